package schema

// SettleCollations is one migration by itself, for a test that must not undo the others.
var SettleCollations = (*DB).settleCollations
