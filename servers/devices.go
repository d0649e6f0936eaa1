package servers

import "kilonova/compat"

// blockDevice is one entry of block_device_mapping_v2.
type blockDevice struct {
	Source     string       `json:"source_type"`
	Dest       string       `json:"destination_type"`
	UUID       *string      `json:"uuid"`
	BootIndex  *compat.Int  `json:"boot_index"`
	Size       *compat.Int  `json:"volume_size"`
	Format     *string      `json:"guest_format"`
	NoDevice   *compat.Bool `json:"no_device"`
	DeleteOnTm *compat.Bool `json:"delete_on_termination"`
}

// planDevices reads block_device_mapping_v2. The clients send the image both as imageRef
// and as the device with boot index 0: that is one disk.
func (s *Service) planDevices(r *compat.Request, p *plan) error {
	b := p.body
	if len(b.BDMv1) > 0 && len(b.BDMv2) > 0 {
		return compat.BadRequest("Using different block_device_mapping syntaxes is not allowed in the same request.")
	}
	if len(b.BDMv1) > 0 {
		return compat.BadRequest("Block Device Mapping is Invalid: volumes are not available in this cloud.")
	}
	locals, boots := 0, 0
	given := false // a device with boot index 0: the first one and imageRef are the same disk
	if p.image != nil {
		boots = 1
	}
	for i := range b.BDMv2 {
		d := &b.BDMv2[i]
		if d.NoDevice != nil && bool(*d.NoDevice) {
			continue
		}
		boot, err := s.planDevice(r, p, d)
		if err != nil {
			return err
		}
		if d.Dest == "local" || d.Dest == "" {
			locals++
		}
		if boot && (given || p.body.ImageRef == nil || *p.body.ImageRef == "") {
			boots++
		}
		given = given || boot
	}
	const maxLocal = 4 // three of the client's own beside the root disk
	switch {
	case locals > maxLocal:
		return compat.BadRequest("Block Device Mapping is Invalid: You specified more local devices than the limit allows")
	case p.image == nil && len(b.BDMv2) == 0:
		return compat.BadRequest("Missing imageRef attribute")
	case p.image == nil || boots != 1:
		return compat.BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
	}
	return nil
}

// planDevice reads one local device and reports whether it is the boot disk.
func (s *Service) planDevice(r *compat.Request, p *plan, d *blockDevice) (bool, error) {
	boot := d.BootIndex != nil && *d.BootIndex == 0
	if d.BootIndex != nil && *d.BootIndex > 0 {
		return false, compat.BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
	}
	if d.Source != "blank" && (d.UUID == nil || *d.UUID == "") {
		return false, compat.BadRequest("Invalid input for field/attribute block_device_mapping_v2. Value: %s. Missing device UUID.", d.Source)
	}
	switch {
	case d.Source == "image" && (d.Dest == "local" || d.Dest == ""):
		if !boot {
			return false, compat.BadRequest("Block Device Mapping is Invalid: Mapping image to local is not supported.")
		}
		if p.image == nil {
			return true, s.useImage(r, p, *d.UUID)
		}
		if p.image.ID != *d.UUID {
			return false, compat.BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
		}
		return true, nil
	case d.Source == "blank" && d.Dest == "local":
		if boot { // beside the image's own disk, or with nothing on it
			return false, compat.BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
		}
		size := 0
		if d.Size != nil {
			size = int(*d.Size)
		}
		if d.Format != nil && *d.Format == "swap" {
			if p.swap >= 0 {
				return false, compat.BadRequest("Block Device Mapping is Invalid: only one swap device can be requested.")
			}
			p.swap = size * 1024
			return false, nil
		}
		p.ephemeral = max(p.ephemeral, 0) + size
		return false, nil
	case d.Source == "snapshot":
		return false, compat.BadRequest("Block Device Mapping is Invalid: failed to get snapshot %s.", *d.UUID)
	case d.Source == "volume":
		return false, compat.BadRequest("Block Device Mapping is Invalid: failed to get volume %s.", *d.UUID)
	}
	return false, compat.BadRequest("Block Device Mapping is Invalid: volumes are not available in this cloud.")
}
