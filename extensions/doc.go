// Package extensions answers GET /extensions and GET /extensions/{id}: a fixed list, since
// microversions took the place of extensions. Old clients still look features up in it.
package extensions
