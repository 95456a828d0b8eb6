"""Warm workers: model jobs that lease a GPU and hand their item to a process that keeps the models loaded.

    places   which GPUs (or CPU slots) there are, and the private folder of locks, records and sockets
    lease    one lock file a GPU, and who works on it
    wire     messages with file descriptors over a unix socket, between processes of one user
    stage    what a model script must offer, and how one item of it is carried out
    worker   the process that stays
    client   the job's side: lease, find or start a worker, hand over, wait

Nothing here imports a model library: a job that finds a warm worker costs an interpreter's start and little more.
"""
