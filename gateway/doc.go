// SPDX-License-Identifier: Apache-2.0

// Package gateway authenticates HTTP callers by the backends and rules of a gRPC server, behind grpc-gateway or without it.
//
// [ServeMuxOptions] configure a gateway so that nothing but what the server is to see reaches it, and so that its refusals are answers that browsers and HTTP
// clients understand. [InProcess] connects a gateway with a server in the same process, through every interceptor. [TrustHop] tells a server which
// connections are a gateway's: what they say of their callers is believed there, and their own address and certificate authenticate nobody.
// [Middleware] protects what is no gRPC: uploads, server-sent events, web sockets.
//
// The functions that grpc-gateway generates as RegisterXHandlerServer call a service without any interceptor: nobody is authenticated, and
// [grpcauth.FromContext] finds no user. Use RegisterXHandlerClient with the connection that [InProcess] makes.
package gateway
