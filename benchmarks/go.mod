module github.com/grpcauth/grpcauth/benchmarks

go 1.26.0

replace github.com/grpcauth/grpcauth => ../
