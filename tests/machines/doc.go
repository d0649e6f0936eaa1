// Package machines runs the parts of a cloud in network namespaces of their own, as on
// machines of their own.
package machines
