// Package diskformat looks at disk images before anything opens them: which format a file
// is of, whether it names other files, and which images may become a guest's disk at all.
// The image service asks it when data comes in, the compute API before it makes a server,
// and each host again before it uses what it has downloaded.
package diskformat
