package lifecycle

import (
	"fmt"

	"kilonova/work"
)

// settleSpawn makes a server's ports live, or gives the server to another host.
func settleSpawn(x *settling) error {
	err := x.s.Hosts.Built(x.ctx, x.tx, x.v.HostName(), x.ok)
	if err != nil {
		return err
	}
	if x.ok {
		return x.s.Networks.SetActive(x.ctx, x.tx, x.v.UUID, true)
	}
	return x.failedSpawn()
}

// failedSpawn tries the next host, up to the limit, and then leaves the server in ERROR
// with nothing held but its quota, which ERROR servers count for.
func (x *settling) failedSpawn() error {
	s, v := x.s, x.v
	err := s.Hosts.Release(x.ctx, x.tx, v.UUID)
	if err != nil {
		return err
	}
	if x.res.Retry && v.Attempts < s.MaxAttempts && !v.placement().Forced {
		err = x.reschedule()
		if err != nil || x.goesOn {
			return err
		}
	}
	err = s.Networks.Release(x.ctx, x.tx, v.UUID)
	if err != nil {
		return err
	}
	message := x.res.Message
	if v.Attempts > 1 {
		message = fmt.Sprintf("Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance %s.", v.UUID)
	}
	x.set = faultOf(internalError, message, x.res.Detail, s.Clock.Now())
	x.set["vm_state"], x.set["task_state"], x.set["power_state"] = ErrorVM, nil, work.NoState
	x.set["host"], x.set["node"], x.set["zone"] = nil, nil, nil
	return nil
}

// reschedule gives the server to another host, if one has room.
func (x *settling) reschedule() error {
	s, v := x.s, x.v
	tried := []string{}
	if v.TriedHosts != nil {
		Decode(*v.TriedHosts, &tried)
	}
	v.TriedHosts = EncodePtr(append(tried, v.HostName()))
	spec, err := s.specFor(x.ctx, x.tx, v)
	if err != nil {
		return err
	}
	again := *v
	again.VMState = Building
	err = s.place(x.ctx, x.tx, &again, &spec, x.all)
	if err != nil || again.Host == nil {
		return err
	}
	err = s.Networks.BindHost(x.ctx, x.tx, v.UUID, *again.Host)
	if err != nil {
		return err
	}
	err = s.Set(x.ctx, x.tx, v, true, Change{"host": again.Host, "node": again.Node, "zone": again.Zone, "attempts": again.Attempts,
		"tried_hosts": v.TriedHosts, "task_state": Scheduling})
	if err != nil {
		return err
	}
	again.Generation = v.Generation
	g, err := s.guest(x.ctx, x.tx, &again)
	if err != nil {
		return err
	}
	s.withSource(g)
	g.AdminPass = s.keptPassword(x.ctx, x.f)
	_, err = s.queue(x.ctx, x.tx, &again, x.f.Operation, x.f.Kind, work.Args{Guest: *g, PowerOn: true}, x.f.ActionID)
	x.set, x.goesOn, x.ring = nil, true, *again.Host
	return err
}
