// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"strings"
)

// SplitMethod takes a full method, "/package.Service/Method", apart. Only a name of exactly that form has a rule: gRPC does not clean paths, nor do we.
func SplitMethod(method string) (service, name string, ok bool) {
	if method == "" || method[0] != '/' {
		return "", "", false
	}
	service, name, ok = strings.Cut(method[1:], "/")
	return service, name, ok && !strings.Contains(name, "/")
}

// ValidMethod reports why a policy cannot have a rule for a method: "*" stands for the rest of a service, and for nothing else.
func ValidMethod(method string) error {
	service, name, ok := SplitMethod(method)
	if !ok || service == "" || name == "" || strings.ContainsAny(service, " %*?#") || strings.ContainsAny(name, " %*?#") && name != "*" {
		return errors.New(`write "/package.Service/Method", or "/package.Service/*"`)
	}
	return nil
}
