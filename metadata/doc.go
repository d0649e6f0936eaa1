// Package metadata makes what a guest reads about itself: the OpenStack and EC2 trees of
// the config drive (and of a metadata service), from a work.Guest alone.
//
// Source: Nova's metadata versions, contract libvirt.md.
package metadata
