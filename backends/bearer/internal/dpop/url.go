// SPDX-License-Identifier: Apache-2.0

package dpop

import (
	"cmp"
	"net/url"
	"strings"
)

// NormalURL returns a URL in the one form in which proofs are compared (RFC 9449, section 4.3, and RFC 3986, section 6.2): without query and
// fragment, scheme and host in lower case, without the default port, nothing escaped that need not be. It is empty for what is no http or https URL.
func NormalURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || defaultPort[u.Scheme] == "" {
		return ""
	}
	host := u.Hostname()
	if host == "" || strings.ContainsFunc(host, func(c rune) bool { return c != ':' && !isUnreserved(c) }) {
		return "" // a host of other characters has several texts too
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != defaultPort[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + strings.ToLower(host) + cmp.Or(normalPath(u.EscapedPath()), "/")
}

var defaultPort = map[string]string{"https": "443", "http": "80"}

// normalPath unescapes letters, digits and the like, and writes other escapes in capitals: a slash that is escaped stays another path than a slash.
func normalPath(escaped string) string {
	if !strings.Contains(escaped, "%") {
		return escaped
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) {
			b.WriteByte(escaped[i])
			continue
		}
		escape := escaped[i : i+3]
		i += 2
		if c, err := url.PathUnescape(escape); err == nil && isUnreserved(rune(c[0])) {
			b.WriteByte(c[0])
		} else {
			b.WriteString(strings.ToUpper(escape))
		}
	}
	return b.String()
}

// isUnreserved is RFC 3986, section 2.3.
func isUnreserved(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~", c)
}
