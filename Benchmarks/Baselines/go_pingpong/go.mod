module go_pingpong

go 1.19
