// Package room keeps file systems from being filled by what people ask for: whatever grows
// for a user stops at a Floor, so that what the program needs to go on is there when the
// disk is full. A Reserve is disk that is held for the moment at which it is.
package room
