# What differs between two runs of one command without meaning anything.
/^[[:space:]]*at [a-zA-Z]/d
/^[[:space:]]*\.\.\. [0-9]+ (more|common frames omitted)/d
/^RocketMQLog:/d
/^SLF4J/d
s/[[:space:]]+$//
s/(127\.0\.0\.1|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+):[0-9]+/ADDR/g
s/[0-9A-F]{32,56}/ID/g
s/[0-9]{4}-[0-9]{2}-[0-9]{2}[ T#][0-9]{2}:[0-9]{2}:[0-9]{2}([:,.][0-9]{3})?/TIME/g
s/\b[0-9]{17}\b/TIME/g
s/\b1[0-9]{12}\b/MS/g
s/[0-9.]+@[A-Za-z0-9_#]+(@[0-9]+)?(#[0-9]+)*/CLIENT/g
s/\b[0-9]+\.[0-9]+(E-?[0-9]+)?\b/N/g
s/(storeSize|commitLogOffset|physicOffset|physicSize)=[0-9]+/\1=N/g
s/CommitLog Offset: [0-9]+/CommitLog Offset: N/
s/__CRC32#=[0-9]+(, )?//g
s/[A-Za-z.$]+\$\$Lambda[^ ]*/LAMBDA/g
s/([A-Z][A-Za-z]+)@[0-9a-f]{6,8}/\1@HASH/g
s/rt=[0-9]+ms/rt=Nms/g
/RMQ_SYS_ROCKSDB_TRANS/d
s/[[:space:]]+/ /g
