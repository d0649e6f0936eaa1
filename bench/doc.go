// Command bench measures a whole kilonova from outside: it starts the program with the
// simulator, puts load on it over HTTP and prints figures. They depend on the machine and
// are never a test.
package main
