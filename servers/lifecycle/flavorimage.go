package lifecycle

import (
	"strconv"

	"kilonova/compat"
	"kilonova/work"
)

// Meet holds what an image asks for against what the flavor says of the same thing: a 400
// Fault where they exclude each other. properties are those of readImageProperties.
func Meet(f work.Flavor, image string, properties map[string]string) error {
	for _, key := range []string{"pmu", "vif_multiqueue_enabled"} {
		if key == "vif_multiqueue_enabled" && f.VCPUs < 2 {
			continue
		}
		byFlavor, ok := f.ExtraSpecs["hw:"+key]
		byImage, also := properties["hw_"+key]
		wanted, _ := BoolWord(byFlavor)
		if on := byImage == "true"; ok && also && on != wanted {
			return compat.BadRequest("Flavor %s has hw:%s extra spec explicitly set to %s, conflicting with image %s which has hw_%s explicitly set to %s.",
				f.Name, key, pythonBool(wanted), image, key, pythonBool(on))
		}
	}
	err := meetSerialPorts(f, properties)
	if err != nil {
		return err
	}
	return meetTopology(f, properties)
}

func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func meetSerialPorts(f work.Flavor, properties map[string]string) error {
	text := f.ExtraSpecs["hw:serial_port_count"]
	if text == "" {
		return nil
	}
	most, err := integer(text)
	if err != nil {
		return compat.BadRequest("Number of serial ports specified in flavor is invalid: expected an integer, got '%s'", text)
	}
	if number(most) > 0 && number(properties["hw_serial_port_count"]) > number(most) {
		return compat.BadRequest("Forbidden to exceed flavor value of number of serial ports passed in image meta.")
	}
	return nil
}

// number reads what integer has written; 0 for nothing.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// counts are sockets, cores and threads.
type counts [3]int64

// exceeds reports whether some count is beyond a limit; a limit of 0 is none.
func (c counts) exceeds(limit counts) bool {
	for i := range c {
		if limit[i] > 0 && c[i] > limit[i] {
			return true
		}
	}
	return false
}

var countNames = [3]string{"sockets", "cores", "threads"}

// topologyOf reads the counts under a prefix of an image's or flavor's names.
func topologyOf(from map[string]string, prefix string) (counts, error) {
	var out counts
	for i, name := range countNames {
		text, ok := from[prefix+name]
		if !ok {
			continue
		}
		read, err := integer(text)
		if err != nil {
			return out, compat.BadRequest("Invalid flavor extra spec. Error: %s", err)
		}
		out[i] = number(read)
	}
	return out, nil
}

func meetTopology(f work.Flavor, properties map[string]string) error {
	var read [4]counts
	for i, from := range []struct {
		values map[string]string
		prefix string
	}{{f.ExtraSpecs, "hw:cpu_max_"}, {properties, "hw_cpu_max_"}, {f.ExtraSpecs, "hw:cpu_"}, {properties, "hw_cpu_"}} {
		var err error
		read[i], err = topologyOf(from.values, from.prefix)
		if err != nil {
			return err
		}
	}
	flavorMost, imageMost, image := read[0], read[1], read[3]
	if imageMost.exceeds(flavorMost) {
		return compat.BadRequest("Image vCPU topology limits (sockets=%d, cores=%d, threads=%d) exceeds the limits of the flavor (sockets=%d, cores=%d, threads=%d)",
			imageMost[0], imageMost[1], imageMost[2], flavorMost[0], flavorMost[1], flavorMost[2])
	}
	const unlimited = 65536
	var most counts
	for i := range most {
		switch {
		case imageMost[i] != 0:
			most[i] = imageMost[i]
		case flavorMost[i] != 0:
			most[i] = flavorMost[i]
		default:
			most[i] = unlimited
		}
	}
	if image.exceeds(most) {
		return compat.BadRequest("Image vCPU topology (sockets=%d, cores=%d, threads=%d) exceeds the limits of the flavor or image (sockets=%d, cores=%d, threads=%d)",
			image[0], image[1], image[2], most[0], most[1], most[2])
	}
	return nil
}
