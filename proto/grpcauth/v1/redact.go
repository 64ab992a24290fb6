// SPDX-License-Identifier: Apache-2.0

// Package grpcauthv1 is the API of [AuthService]: messages, client and server as generated from auth_service.proto.
//
// Messages that hold passwords, tokens or keys hide them from package fmt and from log/slog. Whatever encodes messages shows them
// nevertheless, since that is its task: String, prototext, protojson and encoding/json. Do not log with those.
//
// [AuthService]: https://github.com/grpcauth/grpcauth/blob/main/proto/grpcauth/v1/auth_service.proto
package grpcauthv1

import (
	"fmt"
	"io"
	"log/slog"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// hidden stands for a secret in what is printed.
const hidden = "[hidden]"

// redacted is the text of a message, for people, without the fields that are marked debug_redact: the protobuf runtime does not heed the mark.
func redacted(m proto.Message) string {
	if !m.ProtoReflect().IsValid() {
		return "<nil>"
	}
	m = proto.Clone(m)
	hide(m.ProtoReflect())
	return prototext.MarshalOptions{AllowPartial: true}.Format(m)
}

func hide(m protoreflect.Message) {
	m.SetUnknown(nil) // may be a secret of a newer version
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		options, _ := field.Options().(*descriptorpb.FieldOptions)
		switch {
		case options.GetDebugRedact():
			m.Set(field, protoreflect.ValueOfString(hidden))
		case field.Message() != nil && !field.IsList() && !field.IsMap():
			hide(value.Message())
		}
		return true
	})
}

func write(f fmt.State, m proto.Message) { _, _ = io.WriteString(f, redacted(m)) }

// Format prints the message without its secrets, whatever the verb.
func (x *LoginRequest) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *LoginRequest) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *LoginResponse) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *LoginResponse) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *RefreshRequest) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *RefreshRequest) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *RefreshResponse) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *RefreshResponse) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *LogoutRequest) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *LogoutRequest) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *CreateAPIKeyResponse) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *CreateAPIKeyResponse) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *ChangePasswordRequest) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *ChangePasswordRequest) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *ChangePasswordResponse) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *ChangePasswordResponse) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *Issued) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *Issued) LogValue() slog.Value { return slog.StringValue(redacted(x)) }

// Format prints the message without its secrets, whatever the verb.
func (x *Tokens) Format(f fmt.State, _ rune) { write(f, x) }

// LogValue is the message without its secrets.
func (x *Tokens) LogValue() slog.Value { return slog.StringValue(redacted(x)) }
