// Package quotas owns what projects and users may have, and the exact account of what
// their servers hold: os-quota-sets, os-quota-class-sets and limits.
//
// A project's servers add up to one row, and to one more for each of its users. Take adds
// to both by one conditional update each, inside the transaction that makes the server, in
// which the update itself reads the limits in force: however many callers race, nothing
// goes over a limit, and a server that is not made takes nothing. Give is its opposite.
//
// A limit is the project's own, else the one of the class "default", else the built-in.
package quotas
