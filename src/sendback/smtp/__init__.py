"""The two SMTP doors of a node: what comes back (listener) and what goes out (submission).

syntax      command arguments, strictly: paths and parameters
proxy       the PROXY protocol's header, versions 1 and 2
sasl        AUTH PLAIN and LOGIN
wire        bytes of one connection: lines, the message, flow control; limits before allocation
session     its commands and their exact replies
server      all connections of a process: caps, time limits, TLS, draining
listener    bounces, complaints, unsubscribe mails: accepted only for our own mailboxes
submission  messages to be tagged and relayed (SMTP or LMTP)
"""
