"""The admin port: status page, machine routes, REST API; private, and no recipient needs it."""
