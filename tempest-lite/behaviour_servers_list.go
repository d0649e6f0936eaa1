package tempestlite

import (
	"context"
)

// listing are three servers that lists are asked for. Nothing changes them: a and b run, c
// is stopped; b has the other flavor and is locked.
type listing struct {
	Name string // what their names begin with
	IDs  []string
}

func (t *T) listing() listing {
	image, small, large, network := t.Image(), t.Flavor(0), t.Flavor(1), t.Network(Member)
	return t.share("servers to list", func() (any, error) {
		ctx, c := context.WithoutCancel(t.Ctx), t.Cloud
		l := listing{Name: c.Prefix + "-listed"}
		for i, flavor := range []string{small, large, small} {
			id, err := c.makeServer(ctx, Member, l.Name+"-"+string(rune('a'+i)), image, flavor, network)
			if err != nil {
				return nil, err
			}
			l.IDs = append(l.IDs, id)
		}
		_, err := c.call(ctx, Member, First, "POST", "/servers/"+l.IDs[1]+"/action", map[string]any{"lock": nil}, 202)
		if err != nil {
			return nil, err
		}
		_, err = c.call(ctx, Member, First, "POST", "/servers/"+l.IDs[2]+"/action", map[string]any{"os-stop": nil}, 202)
		if err != nil {
			return nil, err
		}
		return l, c.waitStatus(ctx, Member, l.IDs[2], "SHUTOFF")
	}).(listing)
}

func (t *T) listedName() any { return t.listing().Name }
