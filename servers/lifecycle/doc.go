// Package lifecycle is what happens to servers: their rows, the state table, and the work that
// operations become.
//
// An operation is one transaction (begin.go): the state table's check, the operation's
// preparation, a compare-and-set on the server's row, the instance action, and a work row for
// the host. The host does the work and reports; the finisher (finisher.go) applies the report
// to the row, once, by the operation's settling (settle.go), and the keeper (keeper.go) ends
// what passed its deadline. Each operation is a row of states.go and a file of its own, with
// its input, its preparation and its settling.
//
// Nothing here knows requests: package servers reads them, and hands over who asks and, in
// the operation's own words, for what. Nobody else writes a server's row.
package lifecycle
