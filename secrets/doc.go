// Package secrets keeps from the database what must not be readable there.
//
// A state folder has one key, in a file of its owner's. From it come the key under which the
// API keeps what it will need again, and the pair of keys of each host whose daemon has that
// folder. The API seals what a host needs with the host's public key, which the daemon tells
// when it starts: nobody else can open it, the API included. What is sealed is bound to a
// label, so that it cannot be moved to another row.
package secrets
