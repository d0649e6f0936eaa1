// Package fulldisk holds what a cloud does whose disk is full, as its users see it.
package fulldisk
