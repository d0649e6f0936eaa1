// Package drivertest is the test suite that every computed.Driver passes. It uses nothing
// but the interface, and asks the driver's own test for guests and for a look at what is
// left on the host.
package drivertest
