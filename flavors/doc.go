// Package flavors owns the sizes that servers come in: /flavors, their extra specs, and
// the projects that may use a private one.
//
// Whether a caller may see a flavor is part of the query, the same one for list, show and
// boot: what a project may not use does not exist for it.
package flavors
