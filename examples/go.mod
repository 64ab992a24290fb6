module github.com/grpcauth/grpcauth/examples

go 1.26.0

replace github.com/grpcauth/grpcauth => ../
