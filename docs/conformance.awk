# Makes docs/conformance.md of what the tests said: `make conformance`. A test is <backend>::<port>::<case>; of a backend that
# serves some ports alone, the others are served by memory or by files.
function column(backend, port) {
  if (backend == "nats") return port == "memory" ? "memory" : "NATS"
  if (backend == "sqlite_file") {
    if (port ~ /^(otp_store|presence_store|typing_store|rate_limiter)$/) return "memory"
    return port ~ /^(blob_store|staging)$/ ? "files" : "SQLite"
  }
  if (backend == "postgres") return port ~ /^(otp_store|presence_store|typing_store|rate_limiter|blob_store|staging)$/ ? "" : "PostgreSQL"
  return backend == "mongo" ? "MongoDB" : backend == "redis" ? "Redis" : backend == "s3" ? "S3" : ""
}
$1 == "test" && split($2, name, "::") == 3 {
  where = column(name[1], name[2])
  if (where == "") next
  port = name[1] == "nats" ? "event_bus" : name[2]
  result = $0 ~ /ok$/ ? "✓" : $0 ~ /ignored/ ? "not run" : "✗"
  cell[port, name[3], where] = result
  if (!((port, name[3]) in known)) { known[port, name[3]]; cases[port] = cases[port] " " name[3] }
  used[port, where]
  total[where]++
  passed[where] += result == "✓"
  if (result != "✓") bad++
}
function sorted(text, list,   count, i, j, swap) {
  count = split(text, list, " ")
  for (i = 2; i <= count; i++) for (j = i; j > 1 && list[j - 1] > list[j]; j--) { swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap }
  return count
}
END {
  backends = split("SQLite PostgreSQL MongoDB memory Redis NATS files S3", backend, " ")
  print "# Conformance\n\nEvery port of the core has a contract, each line of which is a case; every backend of a port runs all of them. This is what one run gave; `make conformance` makes it anew.\n"
  print "| Backend | Cases | Passed |\n|---|---|---|"
  for (b = 1; b <= backends; b++) if (total[backend[b]]) print "| " backend[b] " | " total[backend[b]] " | " passed[backend[b]] " |"
  for (port in cases) all = all " " port
  ports = sorted(all, order)
  for (p = 1; p <= ports; p++) {
    head = "| Case |"; line = "|---|"
    for (b = 1; b <= backends; b++) if ((order[p], backend[b]) in used) { head = head " " backend[b] " |"; line = line "---|" }
    print "\n## " order[p] "\n\n" head "\n" line
    count = sorted(cases[order[p]], names)
    for (c = 1; c <= count; c++) {
      row = "| `" names[c] "` |"
      for (b = 1; b <= backends; b++) if ((order[p], backend[b]) in used) row = row " " cell[order[p], names[c], backend[b]] " |"
      print row
    }
  }
  exit bad > 0
}
