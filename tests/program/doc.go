// Package program builds the project's programs and runs a cloud with the simulator, for
// the tests that see the server from outside.
package program
