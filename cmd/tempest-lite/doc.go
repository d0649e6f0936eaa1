// Command tempest-lite asks a cloud how faithfully it speaks the OpenStack Compute API:
// see the package kilonova/tempest-lite.
package main
