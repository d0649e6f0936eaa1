// Package computed is the daemon of one hypervisor host. It polls the database for work
// assigned to its host, carries it out through a Driver in undoable workflows, and writes
// back what happened; the API decides what that means for the server.
//
// It never imports an API package: the vocabulary that both sides share is in work. On
// MariaDB it runs on the host's own database account, whose views show that host's rows
// alone.
package computed
