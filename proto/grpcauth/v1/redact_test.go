// SPDX-License-Identifier: Apache-2.0

package grpcauthv1_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

func Example() {
	fmt.Println(&grpcauthv1.RefreshRequest{RefreshToken: "secret"})
	// Output: refresh_token:"[hidden]"
}

// secrets are the fields that must never be printed. Every string field of a secret's name is one of them.
var secrets = []protoreflect.Name{"password", "old_password", "new_password", "access_token", "refresh_token", "session_id", "secret"}

const canary = "canary-4d1f"

// fill sets every secret in a message to the canary, and the rest to something. It reports whether there was a secret.
func fill(m protoreflect.Message) (found bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		secret := false
		for _, name := range secrets {
			secret = secret || field.Name() == name
		}
		switch {
		case secret:
			m.Set(field, protoreflect.ValueOfString(canary))
			found = true
		case field.IsList() && field.Message() != nil:
			found = fill(m.Mutable(field).List().AppendMutable().Message()) || found
		case field.Message() != nil:
			found = fill(m.Mutable(field).Message()) || found
		case field.Kind() == protoreflect.StringKind && !field.IsList():
			m.Set(field, protoreflect.ValueOfString("shown"))
		}
	}
	return found
}

func messages(t *testing.T) map[protoreflect.Name]proto.Message {
	t.Helper()
	all := map[protoreflect.Name]proto.Message{}
	declared := grpcauthv1.File_grpcauth_v1_auth_service_proto.Messages()
	for i := range declared.Len() {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(declared.Get(i).FullName())
		if err != nil {
			t.Fatal(err)
		}
		all[declared.Get(i).Name()] = kind.New().Interface()
	}
	return all
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	found := 0
	for name, m := range messages(t) {
		if !fill(m.ProtoReflect()) {
			continue
		}
		found++
		m.ProtoReflect().SetUnknown(append([]byte{0xfa, 0x3f, byte(len(canary))}, canary...)) // field 1023, of a newer version
		var out bytes.Buffer
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x %v", m, m, m, m, m, m, []proto.Message{m})
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "m", m)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "m", m)
		if text := out.String(); strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) || !strings.Contains(text, "[hidden]") {
			t.Errorf("%s is printed as %s", name, text)
		}
	}
	if found != 10 {
		t.Errorf("%d messages hold secrets, want 10: list the new one in redact.go", found)
	}
}

func printed(v any) string { return fmt.Sprintf("%v", v) }

func TestPrintingChangesNoMessage(t *testing.T) {
	t.Parallel()
	m := &grpcauthv1.LoginRequest{Username: "alice", Password: canary}
	if got := printed(m); !strings.Contains(got, "alice") || m.GetPassword() != canary {
		t.Errorf("got %s, and the password is %q", got, m.GetPassword())
	}
	if got := printed((*grpcauthv1.LoginRequest)(nil)); got != "<nil>" {
		t.Errorf("a nil message is printed as %s", got)
	}
}
