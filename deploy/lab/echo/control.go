package main

import (
	"syscall"
	"unsafe"
)

// controlMessage lays out one control message as the kernel reads it (cmsg(3)); the
// standard library parses them but builds none of this kind.
func controlMessage(level, kind int, data []byte) []byte {
	message := make([]byte, syscall.CmsgSpace(len(data)))
	header := (*syscall.Cmsghdr)(unsafe.Pointer(&message[0]))
	header.Level, header.Type = int32(level), int32(kind)
	header.SetLen(syscall.CmsgLen(len(data)))
	copy(message[syscall.CmsgLen(0):], data)
	return message
}
