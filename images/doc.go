// Package images is the embedded image service: Image API v2 (Glance), its data files, the
// compute API's image proxy, and what the servers package needs to boot from an image and
// to make one from a server.
//
// An image is a row of the images table and, once it is active, one file in the data
// folder. Bytes go into a file of their own under a name that no other upload has, are
// hashed and counted on the way and inspected at the end; only then one guarded update
// makes the image active. A client that goes away, a deletion in the middle and a kill -9
// therefore all leave either the old state or a file that no row names, which the keeper
// (Service.Run) removes.
//
// Images are hostile: inspect.go reads their headers by itself and refuses whatever would
// make a hypervisor open another file, or is not of the format that it claims to be.
//
// What each route needs of the caller stands in one table, in policy.go.
package images
