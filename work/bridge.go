package work

import "regexp"

// BridgeName is the Linux bridge that carries a network on each host: "kn" and the start of
// the network's id, within the kernel's 15 characters.
func BridgeName(networkID string) string {
	name := make([]byte, 0, 15)
	name = append(name, "kn"...)
	for i := 0; i < len(networkID) && len(name) < 13; i++ {
		if networkID[i] != '-' {
			name = append(name, networkID[i])
		}
	}
	return string(name)
}

var bridgeForm = regexp.MustCompile(`^kn[0-9a-f]{11}$`)

// IsBridge reports whether a network device has a name that BridgeName gives.
func IsBridge(device string) bool { return bridgeForm.MatchString(device) }
