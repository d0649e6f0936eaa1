// Command kilonova is the whole cloud in one program: `kilonova up` runs every role in one
// process, `kilonova api` and `kilonova computed` run them apart. It only reads flags and
// wires packages together; all logic is in the packages.
package main
