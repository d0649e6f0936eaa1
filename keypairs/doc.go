// Package keypairs owns the ssh keys and x509 certificates that users put into their
// servers: /os-keypairs. A keypair belongs to a user, in whatever project it is used.
//
// A private key is made only when the client sends no public key, which it may until 2.91;
// it is in the answer and nowhere else.
package keypairs
