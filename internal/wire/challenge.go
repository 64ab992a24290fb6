// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Param is one parameter of a challenge.
type Param struct{ Name, Value string }

// Challenge is an entry of WWW-Authenticate (RFC 9110, section 11.6.1): the scheme, its realm, its own parameters by name, and the extra ones.
// A realm among the scheme's own parameters takes the place of the default one.
func Challenge(scheme, realm string, params map[string]string, extra ...Param) string {
	if own, ok := params["realm"]; ok {
		realm = own
	}
	var b strings.Builder
	b.WriteString(scheme)
	b.WriteByte(' ')
	write(&b, Param{"realm", realm})
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name != "realm" {
			b.WriteString(", ")
			write(&b, Param{name, params[name]})
		}
	}
	for _, p := range extra {
		b.WriteString(", ")
		write(&b, p)
	}
	return b.String()
}

// DefinesError reports whether challenges of a scheme have an error parameter (RFC 6750, section 3, and RFC 9449, section 7.1).
func DefinesError(scheme string) bool {
	return strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")
}

// StepUp are the parameters that say what a login must reach (RFC 9470, section 3).
func StepUp(acr string, maxAge time.Duration) (params []Param) {
	if acr != "" {
		params = append(params, Param{"acr_values", acr})
	}
	if maxAge > 0 {
		params = append(params, Param{"max_age", strconv.FormatInt(int64(maxAge/time.Second), 10)})
	}
	return params
}

// write writes name="value" with the value as a quoted-string (RFC 9110, section 5.6.4).
func write(b *strings.Builder, p Param) {
	b.WriteString(p.Name)
	b.WriteString(`="`)
	for _, c := range []byte(p.Value) {
		if c < ' ' || c == 0x7f {
			continue // a control character would end the header field
		}
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteByte('"')
}
