package tempestlite

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/gophercloud/gophercloud/v2"
)

// fromEnvironment reads the OS_ variables as the openstack client does: gophercloud's own
// reader knows no domain of the project apart from the user's.
func fromEnvironment() (gophercloud.AuthOptions, *tls.Config, error) {
	env := os.Getenv
	auth := gophercloud.AuthOptions{
		IdentityEndpoint:            env("OS_AUTH_URL"),
		Username:                    env("OS_USERNAME"),
		UserID:                      env("OS_USER_ID"),
		Password:                    env("OS_PASSWORD"),
		TokenID:                     env("OS_TOKEN"),
		ApplicationCredentialID:     env("OS_APPLICATION_CREDENTIAL_ID"),
		ApplicationCredentialName:   env("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: env("OS_APPLICATION_CREDENTIAL_SECRET"),
	}
	if auth.IdentityEndpoint == "" {
		return auth, nil, errors.New("no cloud is named: give --cloud, or set OS_CLOUD or OS_AUTH_URL and its companions")
	}
	if auth.UserID == "" {
		auth.DomainID, auth.DomainName = firstSet("OS_USER_DOMAIN_ID", "OS_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID"), ""
		if auth.DomainID == "" {
			auth.DomainName = firstSet("OS_USER_DOMAIN_NAME", "OS_DOMAIN_NAME", "OS_DEFAULT_DOMAIN_NAME")
		}
	}
	scope := &gophercloud.AuthScope{ProjectID: firstSet("OS_PROJECT_ID", "OS_TENANT_ID")}
	if scope.ProjectID == "" {
		scope.ProjectName = firstSet("OS_PROJECT_NAME", "OS_TENANT_NAME")
		scope.DomainID = firstSet("OS_PROJECT_DOMAIN_ID", "OS_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID")
		if scope.DomainID == "" {
			scope.DomainName = firstSet("OS_PROJECT_DOMAIN_NAME", "OS_DOMAIN_NAME", "OS_DEFAULT_DOMAIN_NAME")
		}
	}
	if (scope.ProjectID != "" || scope.ProjectName != "") && auth.ApplicationCredentialSecret == "" {
		auth.Scope = scope
	}
	config, err := tlsFromEnvironment()
	return auth, config, err
}

func tlsFromEnvironment() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if insecure := os.Getenv("OS_INSECURE"); insecure == "1" || insecure == "true" || insecure == "True" {
		config.InsecureSkipVerify = true //nolint:gosec // the user asks for it
	}
	if file := os.Getenv("OS_CACERT"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading OS_CACERT: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OS_CACERT: there is no certificate in %s", file)
		}
	}
	return config, nil
}

func firstSet(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}
