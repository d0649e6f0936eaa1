package networks

import (
	"fmt"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

func TestOSSA_2013_008_2012_005_EachCountableThingHasAQuota(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"name":"n"}}`, code: 201, keep: "net"},
			{name: "group", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"g"}}`, code: 201, keep: "group"},
			{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.1.0.0/16"}}`, code: 201},
		})
		things := []struct {
			path, body string
			most       int
		}{
			{"security-groups", `{"security_group":{"name":"g%d"}}`, 10},
			{"networks", `{"network":{"name":"n%d"}}`, 100},
			{"subnets", `{"subnet":{"network_id":"` + kept["net"] + `","ip_version":4,"cidr":"10.2.%d.0/24"}}`, 100},
			{"security-group-rules", `{"security_group_rule":{"security_group_id":"` + kept["group"] + `","direction":"ingress","protocol":"tcp","port_range_min":%[1]d,"port_range_max":%[1]d}}`, 100},
			{"ports", `{"port":{"network_id":"` + kept["net"] + `","name":"p%d"}}`, 500},
		}
		for _, k := range things {
			code, n := 0, 0
			for n = 1; n <= k.most+5; n++ {
				rec := call(s, "a", "POST", "/v2.0/"+k.path, fmt.Sprintf(k.body, n))
				code = rec.Code
				if code != 201 {
					if code != 409 || !strings.Contains(rec.Body.String(), "OverQuota") {
						t.Errorf("%s: the %d. = %d %s", k.path, n, code, rec.Body)
					}
					break
				}
			}
			if code == 201 {
				t.Errorf("%s have no end: %d were made", k.path, n-1)
			}
		}
	})
}

func TestOSSA_2014_038_PatternsOfAddressesAreBounded(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		id, _ := boot(t, s, memberOf(projectA), auto())
		_, err := s.ServerIDsByAddress(t.Context(), projectA, strings.Repeat("1?", 1000)+"$", 4)
		if err == nil {
			t.Error("a pattern of 2,001 characters is taken")
		}
		for _, p := range []string{`^(1+)+$`, `(.*0){25}x`} {
			_, err := s.ServerIDsByAddress(t.Context(), projectA, p, 4)
			if err != nil {
				t.Errorf("%.30s: %v", p, err)
			}
		}
		got, err := s.ServerIDsByAddress(t.Context(), projectB, ".", 4)
		if err != nil || len(got) != 0 {
			t.Errorf("another project finds %v, %v", got, err)
		}
		got, err = s.ServerIDsByAddress(t.Context(), projectA, ".", 4)
		if err != nil || len(got) != 1 || got[0] != id {
			t.Errorf("the owner finds %v, %v", got, err)
		}
	})
}
