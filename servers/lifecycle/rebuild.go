package lifecycle

import "kilonova/work"

// RebuildAs is a rebuild request that has been found good. What is nil, or was not sent,
// stays as it is.
type RebuildAs struct {
	ImageID     string
	Image       work.Image
	ConfigDrive bool // the image insists on one
	AdminPass   string
	Name        *string
	Hostname    *string
	AccessIPv4  *string
	AccessIPv6  *string
	DiskConfig  *string
	Metadata    *map[string]string
	Files       []work.File
	Description Optional[string]
	UserData    Optional[string]
	Key         Optional[work.Key]
	Trusted     Optional[[]string]
}

func prepareRebuild(b *beginning) (*work.Args, error) {
	to := b.input.(*RebuildAs)
	args, err := b.withTimeout(b.s.ShutdownTimeout)
	if err != nil {
		return nil, err
	}
	to.change(b.set)
	old := args.Guest
	args.Old, args.PowerOn = &old, b.v.VMState != Stopped
	g := &args.Guest
	to.apply(g)
	b.s.withSource(g)
	g.AdminPass = to.AdminPass
	return args, nil
}

// settleRebuild leaves a server that was stopped so.
func settleRebuild(x *settling) error {
	if x.ok && x.f.VMState == Stopped {
		x.set["vm_state"] = Stopped
	}
	return nil
}

// change puts into set the columns that the request gives.
func (to *RebuildAs) change(set Change) {
	set["image_id"], set["image_meta"] = to.ImageID, Encode(to.Image)
	if to.ConfigDrive {
		set["config_drive"] = true
	}
	for column, value := range map[string]*string{"name": to.Name, "hostname": to.Hostname, "disk_config": to.DiskConfig,
		"access_ip_v4": to.AccessIPv4, "access_ip_v6": to.AccessIPv6} {
		if value != nil {
			set[column] = *value
		}
	}
	if to.Metadata != nil {
		set["metadata"] = Encode(OrEmpty(*to.Metadata))
	}
	if to.Files != nil {
		set["files"] = Encode(to.Files)
	}
	to.Description.Into(set, "description")
	to.UserData.Into(set, "user_data")
	if to.Trusted.Sent {
		set["trusted_certs"] = nil
		if to.Trusted.Value != nil {
			set["trusted_certs"] = Encode(*to.Trusted.Value)
		}
	}
	if to.Key.Sent {
		set["key_name"], set["key_data"] = nil, nil
		if k := to.Key.Value; k != nil {
			set["key_name"], set["key_data"] = k.Name, Encode(k)
		}
	}
}

// apply gives the host's picture of the guest the same changes as the row.
func (to *RebuildAs) apply(g *work.Guest) {
	g.Image = to.Image
	if to.Name != nil {
		g.Name = *to.Name
	}
	if to.Hostname != nil {
		g.Hostname = *to.Hostname
	}
	if to.Metadata != nil {
		g.Metadata = *to.Metadata
	}
	if to.Files != nil {
		g.Files = to.Files
	}
	if to.UserData.Sent {
		g.UserData = ""
		if to.UserData.Value != nil {
			g.UserData = *to.UserData.Value
		}
	}
	if to.Key.Sent {
		g.Key = to.Key.Value
	}
}
