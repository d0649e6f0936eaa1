// Package front is the listener of the HTTP services: who may hold a connection and for how
// long, and TLS.
//
// A client that sends or takes nothing costs nothing but its own connection, and that not
// for long. Everything a client is waited for has a limit: a request's head and, as long as
// nobody has vouched for the request, its whole body have an absolute one; a body with a
// good token or ticket, and every answer, may take any time while they move. Connections
// that are waited for and that nobody has vouched for are counted, for each address and in
// all: one more ends the one that has been waited for longest, so a new client always gets
// in, whatever many silent ones do. What the server works on is not counted and not ended.
//
// A request is vouched for when compat.WithCaller or compat.Vouch is told so, by the token
// check of all services and by the image service's tickets.
package front
