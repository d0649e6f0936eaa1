package flavors

// Statements are what EXPLAIN is asked about.
var Statements = map[string][]any{
	selectFlavor:      {"1"},
	selectProjects:    {1},
	updateDescription: {"x", 1, "1"},
	deleteFlavor:      {1},
	updateSpec:        {"v", 1, "k"},
	deleteSpec:        {1, "k"},
	deleteAccess:      {1, "p1"},
	selectSameID:      {"1"},
	`SELECT flavor_id, name, value FROM flavor_extra_specs WHERE flavor_id IN (?, ?)`: {1, 2},
}

// ValidateSpec checks one extra spec.
func ValidateSpec(name, value string) error {
	fault := validateSpec(name, value)
	if fault == nil {
		return nil
	}
	return fault
}
