// Package hostnet knows which addresses are a machine's own: those that it has, routes to
// and hears neighbours at. What guests' networks may not touch follows from it, for the API
// before it takes a subnet, and for a host before it puts one on a bridge.
package hostnet
