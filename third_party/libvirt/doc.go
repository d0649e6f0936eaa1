// Package libvirt is a small stand-in for the Go binding of the same import path. It
// has the part of it that kilonova uses, under the same names and signatures, so that a
// build without the replace line in kilonova's go.mod uses the upstream module instead.
//
// It differs in one thing: libvirt.so.0 is loaded when the first connection is made, not
// when the program starts. So neither headers nor library are needed to build, one binary
// serves machines with and without libvirt, and NewConnect says plainly when it is absent.
//
// libvirt keeps its last error per operating system thread, and a goroutine may change
// threads between two C calls. Each call and the reading of its error are therefore one C
// function (see binding.c).
package libvirt
