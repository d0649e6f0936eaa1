// Package servers owns the server resource: its rows, its state table, its views, its
// actions, and the work that they become.
//
// A request is checked by compat, resolved to a Server here, and becomes one transaction:
// a compare-and-set on the server's row (states.go says which states allow what), the
// instance action, and a work row for the host. The host does the work and reports; the
// finisher (finisher.go) applies the report to the row, once, and the keeper (keeper.go)
// ends what passed its deadline. Endpoints: /servers and everything below it but
// interfaces, security groups, volumes and consoles.
package servers
