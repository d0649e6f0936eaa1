// Package private makes files and folders that no other account of the machine reads,
// whatever the umask is, and finds those that are open.
package private
