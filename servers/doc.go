// Package servers is the server resource on the wire: what requests say of servers, and how
// servers are shown.
//
// A request is checked by compat, resolved to a server here, and read into what an operation
// of package lifecycle takes, which does the rest: nothing here writes a server's row. Lists,
// filters, views and the documents that are kept of them (renderings.go) are read from the
// rows by this package. Endpoints: /servers and everything below it but interfaces, security
// groups, volumes and consoles.
package servers
