// Package work holds the vocabulary that the API and the compute daemon share: what a
// piece of work is, what a guest looks like to a hypervisor, and what a host reports.
//
// It is the only package that both servers (which writes work) and computed (which
// carries it out) import, and it imports neither. A work row's args column is the JSON
// form of Args; its result column is the JSON form of Result.
package work
