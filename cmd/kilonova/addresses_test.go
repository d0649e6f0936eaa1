package main

import (
	"net"
	"testing"
)

func TestAddressesOf(t *testing.T) {
	own := "http://" + net.JoinHostPort(ownAddress().String(), "8774")
	tests := []struct {
		name, listen, public, internal string
		want                           addresses
	}{
		{"loopback", "127.0.0.1:8774", "", "", addresses{"", "http://127.0.0.1:8774", "http://127.0.0.1:8774"}},
		{"one address", "192.0.2.7:80", "", "", addresses{"", "http://192.0.2.7:80", "http://192.0.2.7:80"}},
		{"a name", "cloud.example:80", "", "", addresses{"", "http://cloud.example:80", "http://cloud.example:80"}},
		{"IPv6", "[::1]:8774", "", "", addresses{"", "http://[::1]:8774", "http://[::1]:8774"}},
		{"all of IPv4", "0.0.0.0:8774", "", "", addresses{"", own, own}},
		{"all", "[::]:8774", "", "", addresses{"", own, own}},
		{"no host", ":8774", "", "", addresses{"", own, own}},
		{"behind a proxy", "0.0.0.0:8774", "https://cloud.example/", "", addresses{"https://cloud.example", "https://cloud.example", "https://cloud.example"}},
		{"a network for hosts", "0.0.0.0:8774", "https://cloud.example", "http://10.0.0.1:8774", addresses{"https://cloud.example", "http://10.0.0.1:8774", "https://cloud.example"}},
		{"internal alone", "0.0.0.0:8774", "", "http://10.0.0.1:8774/", addresses{"", "http://10.0.0.1:8774", own}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var cfg apiConfig
			for text, into := range map[string]*address{tt.public: &cfg.PublicURL, tt.internal: &cfg.InternalURL} {
				if text == "" {
					continue
				}
				err := into.Set(text)
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := addressesOf("http", tt.listen, cfg); got != tt.want {
				t.Errorf("%+v; want %+v", got, tt.want)
			}
		})
	}
	for _, bad := range []string{"cloud.example", "ftp://cloud.example", "http://", "http://a?b", "http://a#b", "http://a b"} {
		_, err := ran(t, "", "up", "--public-url", bad)
		_, err2 := ran(t, "", "api", "--internal-url", bad)
		if err == nil || err2 == nil {
			t.Errorf("%q was taken for an address", bad)
		}
	}
}
