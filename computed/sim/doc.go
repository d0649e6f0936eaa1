// Package sim is a hypervisor driver that runs nothing. Its guests are a few hundred bytes
// each, so one process can be thousands of hosts; it can be told to be slow, to fail and to
// die between two steps, for tests and for development without QEMU.
//
// What a hypervisor keeps lives in a World, which any number of drivers share: a computed
// that is started anew finds its guests again, and with Open so does one in another
// process.
package sim
