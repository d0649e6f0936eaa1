package tempestlite

import "slices"

// behaviours are the checks that are written by hand, one file each for what belongs
// together. Those that need a higher microversion than limit are left out.
func behaviours(limit Version) []*Check {
	all := slices.Concat(
		requestChecks(),
		serverListChecks(),
		serverCreateChecks(),
		lifecycleChecks(),
		lockChecks(),
		imageChecks(),
		deleteChecks(),
		rebuildChecks(),
		resizeChecks(),
		groupChecks(),
		aggregateChecks(),
		serviceChecks(),
		flavorChecks(),
		keypairChecks(),
		migrationChecks(),
		metadataChecks(),
		tagChecks(),
		recordChecks(),
		networkChecks(),
		subresourceChecks(),
		quotaChecks(),
		usageChecks(),
	)
	return slices.DeleteFunc(all, func(c *Check) bool { return c.Version > limit })
}

// behaviour is a check by hand. Its id is behaviour/AREA/NAME.
func behaviour(area, name, title string, version Version, run func(*T), options ...func(*Check)) *Check {
	c := &Check{ID: "behaviour/" + area + "/" + name, Title: title, Area: "behaviour: " + area, Kind: Behaviour, Version: version, Run: run,
		Source: "Compute API guide and reference"}
	for _, o := range options {
		o(c)
	}
	return c
}

func needs(n ...Need) func(*Check) { return func(c *Check) { c.Needs = append(c.Needs, n...) } }
func covers(ops ...string) func(*Check) {
	return func(c *Check) { c.Covers = append(c.Covers, ops...) }
}
func alone(c *Check) { c.Alone = true }
